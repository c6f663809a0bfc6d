"""What people send who mean us harm, and what they must not achieve with it."""
