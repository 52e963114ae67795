package remediate

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestRecentlyReadsOnceInAWhileWhatIsAskedForOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		count := 0
		var broken error
		ask := Recently(func(ctx context.Context) (int, error) {
			time.Sleep(time.Second)
			count++
			return count, broken
		}, 10*time.Second)
		for range 5 {
			go ask(t.Context())
		}
		time.Sleep(8 * time.Second)
		if n, err := ask(t.Context()); n != 1 || err != nil {
			t.Errorf("read %d times within its time: %v", n, err)
		}
		time.Sleep(5 * time.Second)
		broken = errors.New("away")
		if _, err := ask(t.Context()); !errors.Is(err, broken) {
			t.Errorf("what is too old is given without a word: %v", err)
		}
		broken = nil
		if n, err := ask(t.Context()); n != 3 || err != nil {
			t.Errorf("after an error it is not read again: %d, %v", n, err)
		}
		time.Sleep(11 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := ask(ctx); err == nil {
			t.Error("the caller's deadline does not count")
		}
	})
}
