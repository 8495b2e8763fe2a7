"""What `edge bench` measures: the parts of the program, timed on this machine."""
