package memnet

// Links returns how many connections the network remembers.
func (n *Network) Links() int {
	n.enter()
	defer n.leave()
	return len(n.links)
}

// Pending returns how many events are to come.
func (n *Network) Pending() int {
	n.enter()
	defer n.leave()
	return n.agenda.Len()
}
