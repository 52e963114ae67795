package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/terminal"
	"github.com/cjworkbench/unstuck/trigger"
)

// redrawEvery is how often the times on a terminal go on.
const redrawEvery = time.Second

// watch shows an operation until it is over, or nobody wants to see more of it, and gives how it is by then. Ctrl-C
// asks which of the two is to end, and is asked about here alone: what ended the command's own context is taken for no
// wish.
func (s *session) watch(ctx context.Context, op plan.Operation) (plan.Operation, error) {
	wishes, stop := s.interrupts()
	defer stop()
	ctx, leave := context.WithCancel(context.WithoutCancel(ctx))
	show := newProgress(s.progressTo())
	defer show.Close()
	states, ended := make(chan plan.Operation), make(chan error, 1)
	id := op.ID
	var following sync.WaitGroup
	defer following.Wait()
	defer leave()
	following.Go(func() { ended <- s.follow(ctx, id, s.patience, show.note, states) })
	ticker := time.NewTicker(redrawEvery)
	defer ticker.Stop()
	show.state(op)
	for !op.Phase.Over() {
		select {
		case op = <-states:
			show.state(op)
		case <-ticker.C:
			show.redraw()
		case err := <-ended:
			if op, err = s.lastLook(ctx, op, err); err != nil {
				return op, s.left(op, err)
			}
			show.state(op)
		case wish := <-wishes:
			show.Close()
			var out bool
			if op, out = s.wantsOut(ctx, op, wish, states); out {
				return op, s.left(op, nil)
			}
			show.state(op)
		}
	}
	show.Close()
	return op, s.outcome(ctx, op)
}

// lastLook reads the operation itself, when the stream of its events is at its end.
func (s *session) lastLook(ctx context.Context, op plan.Operation, why error) (plan.Operation, error) {
	now, _, err := get[plan.Operation](ctx, s.client, apiPath("operations", op.ID))
	switch {
	case err != nil && why != nil:
		return op, why
	case err != nil:
		return op, err
	case !now.Phase.Over():
		return now, errors.Join(why, errors.New("the stream of its events has ended"))
	}
	return now, nil
}

// wantsOut asks what Ctrl-C is meant for, and cancels the operation if it is that. True: stop watching. Without a
// terminal, on SIGTERM, and at a second Ctrl-C, that is what is meant. It gives how the operation is by then: once it
// is over, there is nothing left to ask, and the question is taken back.
func (s *session) wantsOut(ctx context.Context, op plan.Operation, wish os.Signal,
	states <-chan plan.Operation,
) (plan.Operation, bool) {
	if wish != os.Interrupt {
		return op, true
	}
	asking, takeBack := context.WithCancel(ctx)
	defer takeBack()
	var answer string
	var err error
	answered := make(chan struct{})
	question := clean(op.Request.String()) +
		" is under way. Cancel it (c), stop watching and let it go on (s), or watch on (Enter)? "
	go func() {
		defer close(answered)
		answer, err = s.ask(asking, question)
	}()
	for waiting := true; waiting; {
		select {
		case op = <-states:
			if op.Phase.Over() {
				takeBack()
				<-answered
				return op, false
			}
		case <-answered:
			waiting = false
		}
	}
	switch {
	case err != nil || answer == "s":
		return op, true
	case answer != "c":
		return op, false
	}
	body := trigger.CancelBody{Reason: "cancelled from where it was watched"}
	_, _, err = post[plan.Operation](ctx, s.client, trigger.Cancel.At(op.ID), body, "")
	if err != nil {
		s.warnf("it was not cancelled: %s", err.Error())
		return op, false
	}
	s.warnf("it is asked to stop; it is over when nothing is left half done")
	return op, false
}

// left ends the watching of an operation that is not over, as far as is known.
func (s *session) left(op plan.Operation, why error) error {
	goesOn := fmt.Errorf("not watched any more, and it goes on: %s operations %s --follow", s.program, op.ID)
	if why == nil {
		return &ExitError{Code: exitLeft, Err: goesOn}
	}
	if p, refused := errors.AsType[*httpapi.Problem](why); refused && p.Status == http.StatusUnauthorized {
		why = fmt.Errorf("%w (has the token expired?)", why)
	}
	return &ExitError{Code: exitLeft, Err: fmt.Errorf("%s: %w", why.Error(), goesOn)}
}

// outcome shows how an operation ended, and gives the error that is its exit code.
func (s *session) outcome(ctx context.Context, op plan.Operation) error {
	if s.asJSON {
		_, raw, err := get[plan.Operation](ctx, s.client, apiPath("operations", op.ID))
		if err != nil {
			return err
		}
		if err := s.printJSON(raw); err != nil {
			return err
		}
	} else {
		s.showOperation(op, false)
	}
	if op.Phase != plan.Succeeded {
		return &ExitError{Code: ExitFailed}
	}
	return nil
}

// progressTo says where progress is shown: beside JSON only a person at a terminal wants to see any.
func (s *session) progressTo() io.Writer {
	if !s.asJSON {
		return s.out
	}
	if terminal.LookOf(s.errOut).Terminal {
		return s.errOut
	}
	return io.Discard
}
