package stacktest

// WhileDriving calls f as if it were inside one of the lab's methods.
func WhileDriving(lab *Lab, f func()) {
	defer lab.drive("WhileDriving")()
	f()
}
