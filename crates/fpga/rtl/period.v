// Fills the tables of the token axis when a job has another S than the one before.
module period (
    input clk,
    input rst,
    input wanted,  // a job waits, or is being worked on
    input [9:0] tokens,  // of that job
    output ready,  // the tables are those of S
    output root_valid,
    output [8:0] root_index,
    output [35:0] root
);
    localparam IDLE = 0, DIVIDE = 1, FILL = 2;
    reg [1:0] state;
    reg [9:0] filled_for;  // 0 where for none
    reg [3:0] settle;  // pairs of the job before leave the lanes, and writes arrive there
    assign ready = wanted & state == IDLE & filled_for == tokens & settle == 0;
    wire start = wanted & state == IDLE & filled_for != tokens;
    reg fill;
    wire dividing, filling;
    wire [32:0] step;
    divide divide (
        .clk(clk), .rst(rst), .start(start), .exponent(6'd32), .divisor({1'b0, tokens}), .busy(dividing), .quotient(step)
    );
    roots roots (
        .clk(clk), .rst(rst), .start(fill), .step(step[31:0]), .tokens(tokens), .busy(filling), .valid(root_valid),
        .index(root_index), .root(root)
    );
    always @(posedge clk) begin
        fill <= state == DIVIDE & !dividing & !fill;
        if (settle != 0) settle <= settle - 1'b1;
        case (state)
            IDLE: if (start) state <= DIVIDE;
            DIVIDE: if (fill) state <= FILL;
            default:
            if (!filling) begin
                state <= IDLE;
                filled_for <= tokens;
                settle <= 4'd4;
            end
        endcase
        if (rst) {state, filled_for, fill, settle} <= 0;
    end
endmodule
