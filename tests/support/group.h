/* Included before every file of tests (tests/CMakeLists.txt): its main() becomes a function of the file's own name, so that many
 * files make one binary. See runner.h. */
#ifndef CS_TEST_GROUP_H
#define CS_TEST_GROUP_H

#define main COSTEER_TEST_GROUP
int main(void);

#endif
