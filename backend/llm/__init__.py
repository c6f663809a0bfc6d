"""Language models: LangChain's chat models, the OpenAI client, the model of the demo.

May import protocol values, settings and what every process needs; never Redis.
"""
