"""Takes the pictures of the page for docs/page.md, in Debian's Chromium, from a real service with Whisper base."""
