package zenoh

func benchRole(string) int { return 2 }
