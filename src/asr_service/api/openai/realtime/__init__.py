"""OpenAI's Realtime API for transcription sessions: live speech over a WebSocket."""
