# The caret stands below its value whatever stands before it.
kvs {
	/* größer ☃ */ memory = "größer"
}
