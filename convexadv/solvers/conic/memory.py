def require(p,s): pass
