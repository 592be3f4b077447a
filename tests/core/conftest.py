from hypothesis import settings

settings.register_profile("rota", deadline=None, database=None, derandomize=True)
settings.load_profile("rota")
