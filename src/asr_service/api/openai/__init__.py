"""An implementation of OpenAI's audio API."""
