package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/cjworkbench/unstuck/notify"
)

var _ notify.Meter = (*Metrics)(nil)

// notifications are the metrics of what receivers are told. They are those of this replica: the one that leads tells.
type notifications struct {
	sent     *prometheus.CounterVec // receiver, event
	failures *prometheus.CounterVec // receiver
	dropped  *prometheus.CounterVec // receiver, cause
	waiting  *prometheus.GaugeVec   // receiver
}

func newNotifications() notifications {
	return notifications{
		sent: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "unstuck_notifications_total",
			Help: "Events of incidents that a receiver was told of, by what happened.",
		}, []string{"receiver", "event"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "unstuck_notification_failures_total",
			Help: "Attempts to tell a receiver, or to write down what it was told, that failed.",
		}, []string{"receiver"}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "unstuck_notifications_dropped_total",
			Help: "Events of incidents that a receiver will never be told of, by why.",
		}, []string{"receiver", "cause"}),
		waiting: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "unstuck_notifications_waiting",
			Help: "Events of incidents that a receiver has yet to be told of.",
		}, []string{"receiver"}),
	}
}

// all lists the metrics.
func (n notifications) all() []prometheus.Collector {
	return []prometheus.Collector{n.sent, n.failures, n.dropped, n.waiting}
}

// WatchReceiver makes the metrics of a receiver appear, at zero.
func (m *Metrics) WatchReceiver(receiver string) {
	receiver = valid(receiver)
	for _, kind := range notify.Kinds() {
		m.notifications.sent.WithLabelValues(receiver, string(kind))
	}
	m.notifications.failures.WithLabelValues(receiver)
	for _, why := range notify.DropReasons() {
		m.notifications.dropped.WithLabelValues(receiver, why)
	}
	m.notifications.waiting.WithLabelValues(receiver)
}

// Notified counts an event that a receiver was told of.
func (m *Metrics) Notified(receiver, event string) {
	m.notifications.sent.WithLabelValues(valid(receiver), event).Inc()
}

// NotifyFailed counts an attempt that failed.
func (m *Metrics) NotifyFailed(receiver string) {
	m.notifications.failures.WithLabelValues(valid(receiver)).Inc()
}

// NotifyDropped counts an event that a receiver will never be told of.
func (m *Metrics) NotifyDropped(receiver, why string) {
	m.notifications.dropped.WithLabelValues(valid(receiver), why).Inc()
}

// NotifyQueue says how many events a receiver has yet to be told of.
func (m *Metrics) NotifyQueue(receiver string, waiting int) {
	m.notifications.waiting.WithLabelValues(valid(receiver)).Set(float64(waiting))
}
