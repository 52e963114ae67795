package apitest

import "math/rand/v2"

// Draw makes choices of arbitrary bytes. When they are used up, it is always the first.
type Draw struct{ Data []byte }

// Pick draws a number below n.
func (d *Draw) Pick(n int) int {
	if len(d.Data) == 0 || n <= 0 {
		return 0
	}
	b := int(d.Data[0])
	d.Data = d.Data[1:]
	return b % n
}

// Text gives mostly the first of what is good, or, now and then, what the rest of the bytes are.
func (d *Draw) Text(good ...string) string {
	n := d.Pick(32)
	if n == 0 && len(d.Data) > 0 {
		cut := d.Pick(len(d.Data))
		t := string(d.Data[:cut])
		d.Data = d.Data[cut:]
		return t
	}
	if n < 20 {
		return good[0]
	}
	return good[d.Pick(len(good))]
}

// Arbitrary gives such bytes.
func Arbitrary(random *rand.Rand) []byte {
	data := make([]byte, 150)
	for i := range data {
		data[i] = byte(random.Uint32())
	}
	return data
}
