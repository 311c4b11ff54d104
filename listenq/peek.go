package listenq

// Holds reports whether the flow has a request in the SYN queue.
func (l *Listener) Holds(f Flow) bool {
	_, ok := l.syn.byFlow[f]
	return ok
}

// Front returns the connection that Accept would return, and leaves it there.
func (l *Listener) Front() (Conn, bool) {
	if l.accept.count == 0 {
		return Conn{}, false
	}
	return l.accept.ring[l.accept.first], true
}
