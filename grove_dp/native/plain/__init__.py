"""Plain-Python twins of the native modules: the same answers from code that is read at a glance.

They are oracles. Tests run both over generated input and compare; nothing that serves traffic imports them.
They are written for the eye (regular expressions, slices, one thing after another) and take no care of speed
or of input that comes in pieces: where the native code resumes, the twin starts over.
"""
