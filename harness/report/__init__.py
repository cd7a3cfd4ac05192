"""What people see of a run: a pure `Result` in, text out. No clock, no file, no socket; the store writes what is made here."""
