/* libwebsockets' messages, sent to the callback that the program set; without one they go nowhere. */
#ifndef CS_UTIL_LWS_LOG_H
#define CS_UTIL_LWS_LOG_H

/** Route them. The setting is one for the whole process in libwebsockets; calling it again changes nothing. Any thread. */
void cs_lws_log_install(void);

#endif
