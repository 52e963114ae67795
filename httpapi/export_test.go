package httpapi

// What the tests of the whole API, with both halves, must know. They are of another package, for the halves import this
// one.
const (
	ChangeTimeout    = changeTimeout
	MaxConns         = maxConns
	MaxLookups       = maxLookups
	MaxLookupsEach   = maxLookupsEach
	MaxQuestionsEach = maxQuestionsEach
	MaxStreams       = maxStreams
	MaxStreamsEach   = maxStreamsEach
	MaxToken         = maxToken
	ReadTimeout      = readTimeout
	ShutdownTimeout  = shutdownTimeout
)

var (
	AuditEach     = auditEach
	BadAddress    = badAddress
	BadToken      = badToken
	DefaultRate   = defaultRate
	GoodRequestID = goodRequestID
	HasToken      = hasToken
	Wildcard      = wildcard
)

type (
	Description = description
	Schema      = schema
)

// Routes are the endpoints that are served.
func (a *API) Routes() []Route { return a.routes }

// FillPageStreams opens as many streams of pages as there may be.
func (a *API) FillPageStreams(who func(i int) string) (all bool) {
	for i := range maxStreams {
		if _, ok := a.pageStreams.open(who(i), func() {}); !ok {
			return false
		}
	}
	return true
}
