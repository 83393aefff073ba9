/* Reads registers with libmodbus and prints what it got, one line a request: the words, or "error TEXT".
 *
 *   modbus_read tcp HOST PORT UNIT TIMEOUT_MS ADDRESS,COUNT …
 *   modbus_read rtu PATH BAUD UNIT TIMEOUT_MS ADDRESS,COUNT …      (8 bits, no parity, 2 stop bits)
 */
#include <errno.h>
#include <modbus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
  if (argc < 7) return 2;
  int number = atoi(argv[3]), timeout_ms = atoi(argv[5]);
  modbus_t *link = strcmp(argv[1], "tcp") == 0 ? modbus_new_tcp(argv[2], number)
                                                : modbus_new_rtu(argv[2], number, 'N', 8, 2);
  modbus_set_slave(link, atoi(argv[4]));
  modbus_set_response_timeout(link, timeout_ms / 1000, timeout_ms % 1000 * 1000);
  if (modbus_connect(link) != 0) {
    printf("error %s\n", modbus_strerror(errno));
    return 0;
  }
  for (int i = 6; i < argc; i++) {
    uint16_t words[125];
    int address = atoi(argv[i]), count = atoi(strchr(argv[i], ',') + 1);
    int got = modbus_read_registers(link, address, count, words);
    if (got < 0) {
      printf("error %s\n", modbus_strerror(errno));
      modbus_flush(link);
    } else {
      for (int k = 0; k < got; k++) printf(k ? " %u" : "%u", words[k]);
      printf("\n");
    }
    fflush(stdout);
  }
  modbus_close(link);
  modbus_free(link);
  return 0;
}
