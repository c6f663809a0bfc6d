"""What is broken on purpose: processes, connections, Redis, the model. Answers survive it."""
