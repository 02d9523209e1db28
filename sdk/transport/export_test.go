package transport

import "github.com/essa-project/essad/sdk/status"

// Sever ends a session of a bus as if it were lost.
func Sever(s Session) {
	s.(*session).end(status.Errorf(status.Unavailable, "the session is lost"))
}
