package probe

import "testing"

func TestAwaitsIsAClosedList(t *testing.T) {
	for _, a := range Awaits() {
		if a.Words(1) == "" || a.Words(2) == "" {
			t.Errorf("there are no words for %s", a)
		}
		text, _ := a.MarshalText()
		var again Await
		if err := again.UnmarshalText(text); err != nil || again != a {
			t.Errorf("%s is read back as %s", a, again)
		}
	}
}

func TestPersisting(t *testing.T) {
	at := func(stack uint64, mailbox int, ids ...ProcessID) []Process {
		var all []Process
		for _, id := range ids {
			all = append(all, Process{ID: id, Stack: stack, Mailbox: mailbox})
		}
		return all
	}
	first := at(1, 2, 3, 5, 8, 9)
	for name, test := range map[string]struct {
		earlier, later []Process
		want           int
	}{
		"a wedge":                                  {first, at(1, 2, 3, 5, 8, 9, 12), 4},
		"more messages wait":                       {first, at(1, 7, 3, 5), 2},
		"a slow login: others each time":           {first, at(1, 2, 11, 12), 0},
		"some of each":                             {first, at(1, 2, 2, 5, 9), 2},
		"no earlier look":                          {nil, first, 0},
		"no later look":                            {first, nil, 0},
		"the ends only":                            {first, at(1, 2, 0, 9), 1},
		"the same ones in another place":           {first, at(2, 2, 3, 5, 8, 9), 0},
		"they have worked messages off":            {first, at(1, 1, 3, 5, 8, 9), 0},
		"nothing waits for them":                   {at(1, 0, 3), at(1, 0, 3), 1},
		"nothing waited at first, and now it does": {at(1, 0, 3), at(1, 1, 3), 1},
	} {
		if got := Persisting(test.earlier, test.later); len(got) != test.want {
			t.Errorf("%s: %v, want %d", name, got, test.want)
		}
	}
	if first[0].ID != 3 || len(first) != 4 {
		t.Errorf("comparing changed what was compared: %v", first)
	}
}
