package listenq

// catalogue makes the built-in profiles, in the order that they are listed.
var catalogue = []func() *Profile{
	linux6, linux26, windows, windowsNT4Workstation, freebsd, macos, openbsd, netbsd, illumos, lwip, gvisor, netstack,
}

// defaultProfile is the profile of a Config without one.
var defaultProfile = linux6()

// Profiles returns fresh copies of the built-in profiles, always in the same
// order.
func Profiles() []*Profile {
	all := make([]*Profile, len(catalogue))
	for i, make := range catalogue {
		all[i] = make()
	}
	return all
}

// ProfileNamed returns a fresh copy of a built-in profile. The error suggests the
// nearest name and lists all.
func ProfileNamed(name string) (*Profile, error) {
	var names []string
	for _, p := range Profiles() {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return nil, UnknownName("profile", name, names)
}
