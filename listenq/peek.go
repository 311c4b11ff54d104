package listenq

// Holds reports whether the flow has a request in the SYN queue.
func (l *Listener) Holds(f Flow) bool {
	r, _ := l.syn.find(&f, l.flowHash(&f).bucket())
	return r != nil
}

// Front returns the connection that Accept would return, and leaves it there.
func (l *Listener) Front() (Conn, bool) { return l.accept.front() }
