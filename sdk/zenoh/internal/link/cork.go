package link

// Cork holds back what anybody sends until Uncork, or for a moment: for who has several messages to send that are to travel
// together. Every Cork is followed by an Uncork.
func (m *Manager) Cork() { m.cork() }

// Uncork writes what was held back.
func (m *Manager) Uncork() { m.uncork() }
