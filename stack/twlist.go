package stack

// A twList holds connections by deadline. Nearly all wait equally long, so that a new
// one belongs to the end.
type twList struct {
	first, last *timeWait
}

func (l *twList) add(w *timeWait) {
	w.list = l
	after := l.last
	for after != nil && w.deadline < after.deadline {
		after = after.older
	}
	w.older = after
	if after != nil {
		w.newer, after.newer = after.newer, w
	} else {
		w.newer, l.first = l.first, w
	}
	if w.newer != nil {
		w.newer.older = w
	} else {
		l.last = w
	}
}

func (l *twList) remove(w *timeWait) {
	if w.older != nil {
		w.older.newer = w.newer
	} else {
		l.first = w.newer
	}
	if w.newer != nil {
		w.newer.older = w.older
	} else {
		l.last = w.older
	}
	w.list, w.older, w.newer = nil, nil, nil
}
