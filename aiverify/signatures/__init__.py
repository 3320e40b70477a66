"""Who vouches for these bytes?"""
