"""Front ends: one protocol a file, decoding its requests into calls and encoding replies back."""
