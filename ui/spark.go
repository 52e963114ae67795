package ui

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/cjworkbench/unstuck/probe"
)

// spark is a row of bars, one for each of a node's last logins.
type spark struct {
	Width, Height int
	Bars          []bar
	Label         string // the same in words
}

// bar is one login. One that failed has the whole height.
type bar struct {
	X, Y, Width, Height int
	Tone                string
	Title               string
}

// The measures of a spark, in the units of its drawing.
const (
	sparkHeight = 24
	barWidth    = 3
	barStep     = 4
)

// The times between which a bar's height tells one login from another, by their logarithm: below the first it is as low
// as a bar can be, beyond the second as high.
const (
	quickLogin = time.Millisecond
	slowLogin  = 10 * time.Second
)

// sparkOf draws a node's logins.
func sparkOf(beats []beat) spark {
	s := spark{Width: max(1, len(beats)) * barStep, Height: sparkHeight, Label: "no login yet"}
	good := make([]time.Duration, 0, len(beats))
	for i, b := range beats {
		height := sparkHeight
		if b.status == probe.Healthy {
			good = append(good, b.took)
			height = heightOf(b.took)
		}
		s.Bars = append(s.Bars, bar{
			X: i * barStep, Y: sparkHeight - height, Width: barWidth, Height: height, Tone: statusTone(b.status),
			Title: fmt.Sprintf("%s: %s in %s", b.ended.UTC().Format("15:04:05"), b.status, took(b.took)),
		})
	}
	if len(beats) == 0 {
		return s
	}
	s.Label = fmt.Sprintf("last %s: %d good", count(len(beats), "login", "logins"), len(good))
	if len(good) > 0 {
		slices.SortFunc(good, cmp.Compare[time.Duration])
		s.Label += ", half of these within " + took(good[(len(good)-1)/2])
	}
	if last := beats[len(beats)-1]; last.status != probe.Healthy {
		s.Label += "; the last was " + last.status.String()
	}
	return s
}

// heightOf is the height of the bar of a good login, between 3 and the whole.
func heightOf(d time.Duration) int {
	share := math.Log(float64(max(d, quickLogin))/float64(quickLogin)) / math.Log(float64(slowLogin)/float64(quickLogin))
	return 3 + int(math.Round(min(share, 1)*(sparkHeight-3)))
}
