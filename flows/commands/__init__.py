"""The commands, one module for each kind of work; imported when a command is called."""
