# The smallest file: one role and nothing else.
routing {}
