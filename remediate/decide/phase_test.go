package decide

import (
	"regexp"
	"testing"
)

func TestPhase(t *testing.T) {
	t.Run("has a row of its own", func(t *testing.T) {
		seen := make(map[string]bool)
		for _, p := range append(Phases(), "") {
			if phases[p.Urgency()].phase != p || p.Tone() == "" || p.Is() == "" || seen[p.Is()] || seen[p.Label()] {
				t.Errorf("%q: tone %q, %q, %q", p, p.Tone(), p.Is(), p.Label())
			}
			seen[p.Is()], seen[p.Label()] = true, true
			if e := p.Event(); e != "" && (seen[e] || !regexp.MustCompile(`^[A-Z][A-Za-z]+$`).MatchString(e)) {
				t.Errorf("%q has the event %q", p, e)
			}
			seen[p.Event()] = true
		}
	})
	t.Run("that nobody knows counts as not decided", func(t *testing.T) {
		p := Phase("odd")
		if p.Urgency() != Phase("").Urgency() || p.Label() != Phase("").Label() || p.Event() != "" {
			t.Errorf("urgency %d, label %q, event %q", p.Urgency(), p.Label(), p.Event())
		}
	})
	t.Run("urgency puts what is wrong before what is unknown before what is healthy", func(t *testing.T) {
		request := []Phase{PhaseEscalated, PhaseDeletionUnconfirmed, PhaseConfirmed, PhaseRecovering, PhaseSuspect, PhaseFaulty, PhaseUnknown, "", PhaseHealthy}
		for i, p := range request {
			if p.Urgency() != i {
				t.Errorf("%q is number %d, want %d", p, p.Urgency(), i)
			}
		}
	})
}
