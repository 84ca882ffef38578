"""A step, compiled: a cell's time step becomes a program of plain operations, and the program runs in the native core."""
