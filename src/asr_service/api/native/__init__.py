"""The service's own endpoints: /transcribe, /translate, /languages and /detect-language."""
