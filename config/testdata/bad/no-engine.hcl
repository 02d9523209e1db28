# An executor needs an engine.
executor {}
