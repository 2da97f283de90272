"""Cases by subject. Each is a coroutine function with one argument: the calls of one server and namespace."""
