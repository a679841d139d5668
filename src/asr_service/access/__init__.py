"""Who may call, and how much: keys, and what each of them uses."""
