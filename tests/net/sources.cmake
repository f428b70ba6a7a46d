# The proxy's files, for the tests and for `costeer bench net`.
set(net_proxy_sources
  ${PROJECT_SOURCE_DIR}/tests/net/proxy.c ${PROJECT_SOURCE_DIR}/tests/net/proxy_lane.c
  ${PROJECT_SOURCE_DIR}/tests/net/proxy_http.c ${PROJECT_SOURCE_DIR}/tests/net/proxy_pace.c
  ${PROJECT_SOURCE_DIR}/tests/net/proxy_socket.c)
