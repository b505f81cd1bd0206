"""The pages about memories: who may, what is asked, one call into the domain, the answer."""
