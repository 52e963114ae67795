package apitest

// Pasted are tokens as people have them, and what must not be left of each.
var Pasted = map[string]string{
	"of ours":                 "oncall.zR57jjTKFrI2lAVpOMre5pw-h0LIk7LiQdL_Q8E9q0L",
	"of ours, in hexadecimal": "oncall.0f2c9f536b1f4c559d8e0a1b2c3d4e5f0f2c9f536b1f4c559d8e0a1b2c3d4e5f",
	"of ours, half as long":   "ci.0f2c9f536b1f4c559d8e0a1b2c3d4e5f",
	"of ours, in capitals":    "ci.MFRGGZDFMZTWQ2LKNNWG23TPOBYXE43UOV3HO6DZ",
	"of ours, in one case":    "ci-2.mfrggzdfmztwq2lknnwg23tpobyxe43uov3ho6dz",
	"of ours, short":          "ci.Lf3jjTKFrI2lAVpOMre5pw",
	"of Kubernetes": "eyJhbGciOiJSUzI1NiIsImtpZCI6IkFCQyJ9." +
		"eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQ6eCJ9.c2lnbmF0dXJl-Aa0_",
	"a secret alone":       "zR57jjTKFrI2lAVpOMre5pw-h0LIk7LiQdL_Q8E9q0L",
	"a key in hexadecimal": "0f2c9f536b1f4c559d8e0a1b2c3d4e5f0f2c9f536b1f4c559d8e0a1b2c3d4e5f",
}

// SecretOf is the part of it that must not be left.
func SecretOf(token string) string { return token[len(token)-15:] }
