"""LangChain's parser of audio files, which sends MP3 pieces of them (by pydub and ffmpeg)."""

import sys

from langchain_community.document_loaders.parsers.audio import OpenAIWhisperParser
from langchain_core.documents.base import Blob

url, audio = sys.argv[1:]
for options in ({}, {"language": "en", "prompt": "A test.", "response_format": "text", "temperature": 0.0}):
    parser = OpenAIWhisperParser(api_key="any", base_url=f"{url}/v1", **options)
    for document in parser.lazy_parse(Blob.from_path(audio)):
        print(document.page_content.strip())
