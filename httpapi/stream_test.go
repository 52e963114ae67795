package httpapi

import (
	"fmt"
	"testing"
)

func TestStreamsGiveWhoHasFewThePlaceOfWhoHasMost(t *testing.T) {
	s := newStreams()
	ended := make(map[string]int)
	open := func(who string) (one *openStream, ok bool) {
		return s.open(who, func() { ended[who]++ })
	}
	var last *openStream
	for i := range maxStreams / maxStreamsEach {
		for range maxStreamsEach {
			one, ok := open(fmt.Sprint(i))
			if !ok {
				t.Fatalf("after %d streams one more is refused", s.all)
			}
			last = one
		}
		if _, ok := open(fmt.Sprint(i)); ok {
			t.Errorf("%d has more than each may have", i)
		}
	}
	for range maxStreamsEach - 1 { // until all have the same
		if _, ok := open("ada"); !ok {
			t.Fatalf("ada, who has %d, is refused while others have %d", len(s.of["ada"]), maxStreamsEach)
		}
	}
	if _, ok := open("ada"); ok || ended["ada"] > 0 {
		t.Error("ada takes the place of who has no more than she")
	}
	total := 0
	for _, n := range ended {
		total += n
	}
	if total != maxStreamsEach-1 || s.all != maxStreams {
		t.Errorf("%d streams were ended, and %d are open", total, s.all)
	}
	who := fmt.Sprint(maxStreams/maxStreamsEach - 1)
	before := s.all
	s.close(who, last)
	s.close(who, last)
	if s.all != before-1 {
		t.Errorf("of %d streams %d are left after one was closed twice", before, s.all)
	}
}
