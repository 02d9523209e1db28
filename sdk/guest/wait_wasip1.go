package guest

import "time"

// pollEvery is how long Get rests between two looks.
const pollEvery = 100 * time.Millisecond

func hostWait(key string) ([]byte, Code) {
	for {
		v, c := hostGet(key)
		if c != NotFound {
			return v, c
		}
		time.Sleep(pollEvery)
	}
}
