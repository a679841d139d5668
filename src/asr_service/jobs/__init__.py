"""Jobs: transcriptions that outlive the connection, the process and the machine's power (docs/adr/0007)."""
