"""The other end of a tunnel: a site's connector and a user's client."""
