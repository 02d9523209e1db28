package wire

// The ids of the messages of scouting, which travel in datagrams of their own, one in each.
const (
	ScoutID = 0x01
	HelloID = 0x02
)

// The flags of the messages of scouting.
const (
	scoutHasID   = 0x08
	flagLocators = 0x20
)

const (
	// MaxLocator is how long a locator may be, in bytes.
	MaxLocator = 255
	// MaxLocators is how many locators a HELLO or a link state may have.
	MaxLocators = 256
)

// Scout asks who is there.
type Scout struct {
	Version uint8 // written as ProtocolVersion where it is 0
	What    uint8 // a set of WhatAmI.Mask
	ID      ID    // the asker's; optional
}

// AppendScout appends m to b.
func AppendScout(b []byte, m *Scout) []byte {
	w := writer{b: b}
	w.header(ScoutID)
	w.u8(versionOr(m.Version))
	low := m.What & 7
	if !m.ID.IsZero() {
		low |= scoutHasID
	}
	w.nibbleID(&m.ID, low)
	return w.b
}

// DecodeScout decodes a SCOUT from the front of b into m and returns its length.
func DecodeScout(b []byte, m *Scout) (int, error) {
	*m = Scout{}
	r := reader{b: b}
	h := r.transportHeader(ScoutID)
	m.Version = r.u8()
	c := r.u8()
	m.What = c & 7
	if c&scoutHasID != 0 {
		m.ID = r.fixedID(uint64(c>>4) + 1)
	}
	r.skipExts(h)
	return r.done()
}

// Hello answers a Scout.
type Hello struct {
	Version  uint8 // written as ProtocolVersion where it is 0
	WhatAmI  WhatAmI
	ID       ID
	Locators []string // none: where the datagram came from
}

// AppendHello appends m to b. Of the locators it leaves out those that are too long, and those beyond MaxLocators.
func AppendHello(b []byte, m *Hello) []byte {
	w := writer{b: b}
	w.optional(HelloID, flagLocators, len(m.Locators) > 0)
	w.u8(versionOr(m.Version))
	w.nibbleID(&m.ID, byte(m.WhatAmI))
	if len(m.Locators) > 0 {
		w.locators(m.Locators)
	}
	return w.b
}

func (w *writer) locators(list []string) {
	n := 0
	for _, l := range list {
		if len(l) <= MaxLocator && n < MaxLocators {
			n++
		}
	}
	w.zint(uint64(n))
	for _, l := range list {
		if len(l) <= MaxLocator && n > 0 {
			w.text(l)
			n--
		}
	}
}

func (r *reader) locators() (list []string) {
	n := r.zint()
	if n > MaxLocators {
		r.fail(ErrTooMany)
		return nil
	}
	for ; n > 0 && r.err == 0; n-- {
		list = append(list, r.text(MaxLocator))
	}
	return list
}

// DecodeHello decodes a HELLO from the front of b into m and returns its length.
func DecodeHello(b []byte, m *Hello) (int, error) {
	*m = Hello{}
	r := reader{b: b}
	h := r.transportHeader(HelloID)
	m.Version = r.u8()
	m.WhatAmI, m.ID = r.whatAmIAndID()
	if h&flagLocators != 0 {
		m.Locators = r.locators()
	}
	r.skipExts(h)
	return r.done()
}
