from gevent import monkey

monkey.patch_all()

worker_class = "gevent"
worker_connections = 2000
keepalive = 60
control_socket_disable = True
